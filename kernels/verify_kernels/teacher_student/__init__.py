"""Students and teachers over Gaussian inputs: the population loss and what it proves."""

from verify_kernels.teacher_student.general_teachers import ProductBound as ProductBound
from verify_kernels.teacher_student.general_teachers import product_bound as product_bound
from verify_kernels.teacher_student.gradient import Gradient as Gradient
from verify_kernels.teacher_student.loss_bounds import LossOnly as LossOnly
from verify_kernels.teacher_student.loss_bounds import StudentBound as StudentBound
from verify_kernels.teacher_student.loss_bounds import TeacherMass as TeacherMass
from verify_kernels.teacher_student.loss_bounds import loss_only as loss_only
from verify_kernels.teacher_student.population import Population as Population
from verify_kernels.teacher_student.population import enclose_population as enclose_population
from verify_kernels.teacher_student.teacher_angles import norm_range as norm_range
from verify_kernels.teacher_student.teacher_angles import separation as separation
