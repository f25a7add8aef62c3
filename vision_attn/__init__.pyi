"""The public names at the top; all others are in the packages below."""

from . import data as data
from . import figures as figures
from . import layers as layers
from . import models as models
from . import probes as probes
from . import records as records
from . import spec as spec
from . import statistics as statistics
from . import training as training
from . import verdicts as verdicts
from .checking import check_model as check_model
from .data import Cifar10 as Cifar10
from .data import ImageFolder as ImageFolder
from .data import Mnist5k as Mnist5k
from .experiment import Experiment as Experiment
from .figures import Gap as Gap
from .figures import LearningCurve as LearningCurve
from .layers import Attention as Attention
from .loading import load_run as load_run
from .measuring import measure as measure
from .models import DepthwiseConv as DepthwiseConv
from .models import ResNet as ResNet
from .models import SelfAttention as SelfAttention
from .models import ViT as ViT
from .models import match as match
from .probes import Accuracy as Accuracy
from .run import Run as Run
from .training import Recipe as Recipe
from .verdicts import Quantity as Quantity
from .verdicts import cell as cell
from .verdicts import claim as claim

__version__: str
