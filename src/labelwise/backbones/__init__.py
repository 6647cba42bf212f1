"""images -> feature map: any timm feature model."""

from labelwise.backbones.timm_backbone import TimmBackbone
from labelwise.backbones.weights import load_weights, package_architecture

__all__ = ["TimmBackbone", "load_weights", "package_architecture"]
