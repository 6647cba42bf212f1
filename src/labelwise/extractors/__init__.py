"""feature map -> one feature per label."""

from labelwise.extractors.normalise import MapNorm
from labelwise.extractors.pooled import Pooled
from labelwise.extractors.query_attention import QueryAttention

__all__ = ["MapNorm", "Pooled", "QueryAttention"]
