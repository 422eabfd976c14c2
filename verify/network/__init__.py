"""What a condition speaks about: networks and data as exact values."""

from verify.network.activation import Activation as Activation
from verify.network.equilibrium import AffineInput as AffineInput
from verify.network.equilibrium import Data as Data
from verify.network.equilibrium import Equilibrium as Equilibrium
from verify.network.equilibrium import OpaqueInput as OpaqueInput
from verify.network.equilibrium import ReluFeatureInput as ReluFeatureInput
from verify.network.equilibrium import Run as Run
from verify.network.equilibrium import StoredCheckpoint as StoredCheckpoint
from verify.network.feedforward import Feedforward as Feedforward
from verify.network.feedforward import recognise as recognise
from verify.network.graph import Graph as Graph
from verify.network.graph import GraphBuilder as GraphBuilder
from verify.network.graph import Node as Node
from verify.network.graph import graph_of as graph_of
from verify.network.teacher_student import TeacherStudent as TeacherStudent
from verify.network.two_layer import TwoLayer as TwoLayer
from verify.network.weights import BoxMonotoneWeight as BoxMonotoneWeight
from verify.network.weights import LowRankRowScaledWeight as LowRankRowScaledWeight
from verify.network.weights import MonotoneWeight as MonotoneWeight
from verify.network.weights import NonEuclideanWeight as NonEuclideanWeight
from verify.network.weights import PlainWeight as PlainWeight
from verify.network.weights import RowNormalisedWeight as RowNormalisedWeight
from verify.network.weights import RowScaledWeight as RowScaledWeight
from verify.network.weights import ScaledGaussianWeight as ScaledGaussianWeight
from verify.network.weights import SoftplusMonotoneWeight as SoftplusMonotoneWeight
from verify.network.weights import StateWeight as StateWeight
from verify.network.weights import UpperTriangularWeight as UpperTriangularWeight

Network = Equilibrium | TwoLayer | Feedforward | Graph | TeacherStudent
"""Every family that can be read."""
