"""Pictures and pages of what was measured; nothing here computes a result.

tables         rows (mappings) -> HTML, Markdown, aligned text, CSV
canvas         colours, units, the empty figure, PNG
examples       which examples are shown, and what is said about each
distributions  histograms and densities
plots          all pictures: results -> matplotlib figures
cards          one target with its training examples and its proof
sections       what one application found, from a folder to HTML
facts          what made a result, and what it cost
stylesheet     how a page looks
page           everything -> one self-contained HTML file
"""
