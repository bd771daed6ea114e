"""The morning list: what asks for a decision, one question after the other, and what each answer does.

`listed` says what is asked and in which order, `answers` what can be answered and does it, `handing_on` what leaves the
page. The page and the terminal both ask through these.
"""
