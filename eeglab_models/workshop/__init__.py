"""What a workshop needs: a kit that installs without a network, and a doctor that says what to mend.

`kit` fills a folder, `wheels` what is installed from it, `install` (on bare Python, a copy lies in every kit)
verifies it and sets a laptop up, and `doctor` looks at a computer. The command line uses them. This room uses
signals and models to fetch and find data; no other room uses it.
"""
