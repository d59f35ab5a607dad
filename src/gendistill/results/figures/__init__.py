"""Figures: one module each, whose `draw` gets the settings of its step and the cells with what their steps hold."""
