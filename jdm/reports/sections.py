"""Sections of a page: what one application found, from a folder to HTML."""

from collections.abc import Mapping, Sequence
import dataclasses
import html as html_lib
import os
from typing import Any

from jdm.reports import cards
from jdm.reports import tables

_NOT_PLAIN = (
    'pictures that lie in no file; write them first and pass their paths'
)
_INDENT = '\N{EM SPACE}'
_WIDE = 1000  # Pixels of a picture; two narrower ones stand side by side.
_SCALE = 0.6  # Of a wide picture: letters as large as those of the text.
_MANY = 6  # Limits; more are folded away.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
  """One application's part of a report.

  Attributes:
    name: of the application, such as 'leakage'; also the anchor in the page.
    title: its heading; '' for the name in words.
    lead: one paragraph: what was done and what the numbers mean.
    table: the summary: scalars, intervals (two numbers) and short words. Rows
      whose name starts with spaces belong to the row above.
    pictures: captions to PNG files, or to their content.
    limits: sentences on what was not measured.
    command: what was typed to get it; '' if unknown.
  """

  name: str
  title: str = ''
  lead: str = ''
  table: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  pictures: Mapping[str, str | bytes] = dataclasses.field(default_factory=dict)
  limits: Sequence[str] = ()
  command: str = ''

  def __post_init__(self):
    if isinstance(self.limits, str):
      raise ValueError(
          '`Section` expects limits as a list of sentences, got one string;'
          ' pass `[sentence]`.'
      )

  def heading(self) -> str:
    """The title, or else the name in words."""
    return self.title or self.name.replace('_', ' ').capitalize()

  def to_json(self, folder: str) -> dict[str, Any]:
    """Plain values; pictures by their names relative to `folder`.

    Raises:
      ValueError: if a picture is not in a file.
    """
    pictures = {}
    for caption, picture in self.pictures.items():
      if isinstance(picture, bytes):
        raise ValueError(f'`to_json` of section {self.name!r} got {_NOT_PLAIN}')
      pictures[caption] = os.path.relpath(picture, folder)
    return {
        'name': self.name,
        'title': self.title,
        'lead': self.lead,
        'table': dict(self.table),
        'pictures': pictures,
        'limits': list(self.limits),
        'command': self.command,
    }


def from_json(values: Mapping[str, Any], folder: str) -> Section:
  """Reads what `Section.to_json` wrote; other entries are ignored.

  Args:
    values: with at least a name.
    folder: that the pictures' names are relative to. Those that are not there
      any more are left out.

  Raises:
    ValueError: if these are not the values of a section.
  """
  is_section = isinstance(values, Mapping) and bool(values.get('name'))
  for name in ('table', 'pictures'):
    is_section = is_section and isinstance(values.get(name, {}), Mapping)
  if not is_section:
    raise ValueError(
        '`from_json` expects the values of a section (`Section.to_json`): a'
        ' name, and table and pictures as mappings.'
    )
  known = {field.name for field in dataclasses.fields(Section)}
  own = {key: value for key, value in values.items() if key in known}
  paths = {
      caption: os.path.join(folder, picture)
      for caption, picture in own.get('pictures', {}).items()
  }
  own['pictures'] = {
      c: path for c, path in paths.items() if os.path.isfile(path)
  }
  return Section(**own)


def html(section: Section) -> str:
  """Writes a section as HTML, pictures inside.

  Raises:
    OSError: if a picture cannot be read.
  """
  parts = [
      f'<h2 id="{html_lib.escape(section.name)}">'
      f'{html_lib.escape(section.heading())}</h2>\n'
  ]
  if section.lead:
    parts.append(f'<p>{html_lib.escape(section.lead)}</p>\n')
  table = tables.html(_rows(section.table))
  parts.append(f'<div class="findings">{table}</div>\n' if table else '')
  parts.append(_pictures(section.pictures))
  parts.append(_limits(section.limits))
  if section.command:
    command = html_lib.escape(section.command)
    parts.append(f'<p class="note">Made by <code>{command}</code></p>\n')
  return ''.join(parts)


def contents(sections: Sequence[Section]) -> str:
  """Writes links to sections; '' without any."""
  links = ' · '.join(
      f'<a href="#{html_lib.escape(section.name)}">'
      f'{html_lib.escape(section.name.replace("_", " "))}</a>'
      for section in sections
  )
  return f'<p class="contents">Applications: {links}</p>\n' if links else ''


def _rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
  """One row a quantity; leading spaces, which HTML drops, become an indent."""
  rows = []
  for name, value in table.items():
    indent = _INDENT if name.startswith(' ') else ''
    rows.append({'measured': indent + name.strip(), 'value': value})
  return rows


def _pictures(pictures: Mapping[str, str | bytes]) -> str:
  shown = []
  for caption, picture in pictures.items():
    content = picture
    if isinstance(content, str):
      with open(content, 'rb') as file:
        content = file.read()
    width = _width(content)
    kind = 'class="plot"'
    if width > _WIDE:
      kind = f'class="plot wide" style="max-width: {_SCALE * width:.0f}px"'
    shown.append(
        f'<figure {kind}>{cards.picture(content, caption)}'
        f'<figcaption>{html_lib.escape(caption)}</figcaption></figure>\n'
    )
  return f'<div class="pair">{"".join(shown)}</div>\n' if shown else ''


def _width(content: bytes) -> int:
  """Pixels, from the header of a PNG."""
  return int.from_bytes(content[16:20], 'big')


def _limits(limits: Sequence[str]) -> str:
  items = [f'<li>{html_lib.escape(s)}</li>\n' for s in limits]
  if not items:
    return ''
  shown = f'<ul class="note">{"".join(items[:_MANY])}</ul>\n'
  if len(items) > _MANY:
    shown += (
        f'<details><summary>{len(items) - _MANY} more notes</summary>'
        f'<ul class="note">{"".join(items[_MANY:])}</ul></details>\n'
    )
  return shown
