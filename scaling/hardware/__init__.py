"""Devices, number formats, memory and communication: plain numbers in, tables out."""
