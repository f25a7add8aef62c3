"""The public names at the top; all others are in the packages below."""

import vision_attn.data as data
import vision_attn.figures as figures
import vision_attn.layers as layers
import vision_attn.models as models
import vision_attn.probes as probes
import vision_attn.records as records
import vision_attn.spec as spec
import vision_attn.statistics as statistics
import vision_attn.training as training
import vision_attn.verdicts as verdicts

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
