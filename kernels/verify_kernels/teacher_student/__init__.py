"""Students and teachers over Gaussian inputs: the population loss and what it proves."""

from verify_kernels.teacher_student.population import Population as Population
from verify_kernels.teacher_student.population import enclose_population as enclose_population
