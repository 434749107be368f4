"""A page as a browser reads it."""

import html.parser

_VOID = ('img', 'meta', 'br')


class Page(html.parser.HTMLParser):
  """Words, links and pictures; fails on elements that are not closed.

  Attributes:
    words: all text but the style.
    links: of elements to others and to pictures.
    anchors: what links in the page may point to.
    headings: of sections.
    tags: of all elements, as they come.
  """

  def __init__(self, content: str):
    super().__init__()
    self.words, self.links, self.headings, self.tags = '', [], [], []
    self.anchors = []
    self._open = []
    self.feed(content)
    self.close()
    if self._open:
      raise ValueError(f'not closed: {self._open}')

  def handle_starttag(self, tag, attrs):
    """Notes an element."""
    self.tags.append(tag)
    self.links += [v for k, v in attrs if k in ('src', 'href', 'srcset')]
    self.anchors += [v for k, v in attrs if k == 'id']
    if tag not in _VOID:
      self._open.append(tag)

  def handle_endtag(self, tag):
    """Checks that what is open is closed."""
    if self._open.pop() != tag:
      raise ValueError(f'{tag} closes another element')

  def handle_data(self, data):
    """Notes text."""
    if self._open and self._open[-1] == 'h2':
      self.headings.append(data)
    if 'style' not in self._open:
      self.words += data
