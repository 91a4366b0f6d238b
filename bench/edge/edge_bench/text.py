"""Text that looks like a site's, and is the same on every machine.

It is built on `random()` alone: of Python's generator that is the one method whose sequence is
promised to stay.
"""
import hashlib
import random

WORDS = """
about access account after again along animal answer archive arrow author balance basic batch before behind better
billing blue border bottom branch bridge browser build button canvas card castle center chain change chapter charge
circle class client close cloud coast color column common compare config connect content copy corner country create
current custom dance data default delete deploy design detail device direct display domain door dream driver early
east edge editor effect element empty enable engine entry event example expert export fabric factory feature field
filter final finish fixed flame folder font forest format forward frame future gallery garden gateway global gold
graph great green ground group guide handle harbor header height hidden history hotel house image import index inline
input island item join journey keep kernel kitchen label ladder lake language large layer leader letter level library
light limit line list local logic machine main margin market master matrix meadow member memory menu message method
minute mirror mobile model moment monitor morning mountain name native nature nested network night normal north number
object ocean office option orange order origin output owner package page panel paper parent path pattern people
person picture pixel place plain planet point policy portal position prefer preview price primary process product
profile project public quality query quick quiet random range reader record region release remote report request
reset resource result return river road room route sample scale school science scope screen script search season
second secret section select series server session shadow share shelf signal silver simple single size sky small
source south space spring stack stage start state station status stone storage store story stream street string
strong style summer sun switch system table target teacher template text theme thread time title together top total
touch tower track trade train transfer travel tree trigger type unique update upload user value vector version view
village visit voice volume wall watch water wave weather west white width wind window winter wonder world yellow zone
""".split()


class Writer:
    """Writes the same for the same `seed`."""

    def __init__(self, seed):
        self._random = random.Random(seed).random

    def below(self, limit):
        return int(self._random() * limit)

    def fraction(self):
        return self._random()

    def word(self):
        return WORDS[self.below(len(WORDS))]

    def letter(self):
        return "abcdefghijklmnopqrstuvwxyz"[self.below(26)]

    def sentence(self):
        words = " ".join(self.word() for _ in range(6 + self.below(12)))
        return words[0].upper() + words[1:] + "."

    def page(self, title, size):
        """An HTML page of exactly `size` bytes."""
        head = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<link rel="stylesheet" href="/style.css"><script defer src="/app.js"></script></head><body>\n'
            f'<main class="page"><h1>{title}</h1>\n')
        end = "\n</main></body></html>"
        parts, length = [head], len(head)
        while length < size:
            part = self._section()
            parts.append(part)
            length += len(part)
        return ("".join(parts)[:size - len(end)] + end).encode()

    def _section(self):
        said = f"{SENTENCES[self.below(len(SENTENCES))]} {SENTENCES[self.below(len(SENTENCES))]}"
        return (
            f'<section id="{self.word()}{self.below(1000)}"><h2>{self.word()} {self.word()}</h2><p>{said} '
            f'<a href="/p/{self.below(2000):04}/">{self.word()}</a></p></section>\n')

    def script(self, size):
        """JavaScript as a bundler leaves it."""
        parts, length = ['"use strict";'], 0
        while length < size:
            a, b = self.letter(), self.letter()
            part = (
                f"function {self.word()}{self.word().title()}{self.below(99999)}({a},{b}){{"
                f"if({a}.{self.word()}==={self.below(10000)})return {b}.{self.word()}(\"{self.word()}-{self.word()}\");"
                f"const {self.letter()}={a}.map({self.letter()}=>{self.letter()}.{self.word()}*{self.below(500)}+{self.below(97)});"
                f"return{{{self.word()}:{b},{self.word()}:\"{self.word()} {self.word()}\"}}}}\n")
            parts.append(part)
            length += len(part)
        return "".join(parts)[:size].encode()

    def style(self, size):
        parts, length = [], 0
        while length < size:
            part = (
                f".{self.word()}-{self.word()}{{color:#{self.below(1 << 24):06x};margin:{self.below(32)}px "
                f"{self.below(32)}px;padding:{self.below(9)}rem;display:{('flex', 'grid')[self.below(2)]}}}\n")
            parts.append(part)
            length += len(part)
        return "".join(parts)[:size].encode()


def _sentences():
    writer = Writer(1)
    return [writer.sentence() for _ in range(4096)]


# Picking whole sentences makes a page ten times as fast as putting words together.
SENTENCES = _sentences()


def noise(seed, size):
    """Bytes that no encoder makes smaller, as those of an image."""
    return hashlib.shake_256(seed.encode()).digest(size)
