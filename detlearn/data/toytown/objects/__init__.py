"""The drawings of ToyTown's ten objects: one function for each class, named after it.

Each function draws one object that fills the unit square (see ``Pen``) and takes every choice of
colour, proportion and detail from its generator.
"""
