"""Devices, number formats, memory and communication: plain numbers in, tables out."""

from scaling.hardware.activations import Network, activation_bytes
from scaling.hardware.communication import Communication, communication
from scaling.hardware.devices import DEVICES, Device, get_device
from scaling.hardware.formats import FORMATS, Format, project, quantisation_error, spacing
from scaling.hardware.memory import (
    Memory,
    devices_needed,
    fits,
    inference_memory,
    sequences_that_fit,
    stages_table,
    training_memory,
)
from scaling.hardware.setup import PRECISIONS, STRATEGIES, Setup

__all__ = [
    "DEVICES",
    "FORMATS",
    "PRECISIONS",
    "STRATEGIES",
    "Communication",
    "Device",
    "Format",
    "Memory",
    "Network",
    "Setup",
    "activation_bytes",
    "communication",
    "devices_needed",
    "fits",
    "get_device",
    "inference_memory",
    "project",
    "quantisation_error",
    "sequences_that_fit",
    "spacing",
    "stages_table",
    "training_memory",
]
