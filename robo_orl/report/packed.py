"""Large texts inside scripts of pages that are read from a folder: compressed, as no server is there to do it.

A browser unpacks them (`DecompressionStream`, in all of them since 2023).
"""

from __future__ import annotations

import base64
import gzip

# Of base64.b85encode: no quote and no backslash is among them.
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"

READER = f"""  const unpack = async (text, length) => {{
    const digits = "{DIGITS}", value = new Uint8Array(128);
    for (let i = 0; i < 85; i++) value[digits.charCodeAt(i)] = i;
    const bytes = new DataView(new ArrayBuffer(text.length / 5 * 4));
    for (let i = 0, at = 0; i < text.length; at += 4) {{
      let word = 0;
      for (const end = i + 5; i < end; i++) word = word * 85 + value[text.charCodeAt(i)];
      bytes.setUint32(at, word);
    }}
    const whole = new Blob([new Uint8Array(bytes.buffer, 0, length)]);
    return new Response(whole.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }};
"""


def packed(text: str, name: str, then: str) -> str:
    """A script that gives the page the promise `window.NAME`: what the JavaScript function `then` makes of the text."""
    raw = gzip.compress(text.encode(), 9, mtime=0)
    characters = base64.b85encode(raw, pad=True).decode()  # five for four bytes, where base64 takes six
    return f'{{\n{READER}  window.{name} = unpack("{characters}", {len(raw)}).then({then});\n}}\n'
