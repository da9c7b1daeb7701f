"""Figures and tables for a paper. They draw what they are given and train nothing."""
