"""Relations between labels: word vectors, co-occurrence, graphs."""

from labelwise.relations.dynamic_graph import DynamicGraph
from labelwise.relations.gcn import GCN
from labelwise.relations.ggnn import GGNN
from labelwise.relations.vectors import LabelText, LabelVectors, TextMap

__all__ = ["GCN", "GGNN", "DynamicGraph", "LabelText", "LabelVectors", "TextMap"]
