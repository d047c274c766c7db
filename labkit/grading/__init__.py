"""Grading: a bank of questions as data, and a check that says at once what is right, what is not, and where to look.

Answers are values (a number, a text, a list), never code that is run.  What a question says about traffic is compared with the
learner's own capture, read as bytes.
"""
