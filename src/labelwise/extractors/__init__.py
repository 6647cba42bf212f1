"""feature map -> one feature per label."""

from labelwise.extractors.c_tran import CTran
from labelwise.extractors.class_activation import ClassActivation
from labelwise.extractors.ml_decoder import MLDecoder
from labelwise.extractors.normalise import MapNorm
from labelwise.extractors.pooled import Pooled
from labelwise.extractors.query2label import Query2Label
from labelwise.extractors.query_attention import QueryAttention
from labelwise.extractors.region_attention import RegionAttention
from labelwise.extractors.residual_attention import ResidualAttention
from labelwise.extractors.semantic_decoupling import SemanticDecoupling
from labelwise.extractors.stripes import Stripes
from labelwise.extractors.tdrg import DualRelations

__all__ = [
    "CTran",
    "ClassActivation",
    "DualRelations",
    "MLDecoder",
    "MapNorm",
    "Pooled",
    "Query2Label",
    "QueryAttention",
    "RegionAttention",
    "ResidualAttention",
    "SemanticDecoupling",
    "Stripes",
]
