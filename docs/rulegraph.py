"""Make Snakemake's graph of rules, read from standard input, one that fits a page.

Rules that compute and rules that make tables and figures differ in colour; `all` is left out.
`make rulegraph` runs it.
"""

import re
import sys

COMPUTES, SHOWS = "#dce9f5", "#fbe3cf"
RESULTS = ("figure", "figures", "table", "tables", "factorial", "norms_and_kl")
NODE = re.compile(r'^\s*(\d+)\[label = "(\w+)"')
EDGE = re.compile(r"^\s*(\d+) -> (\d+)")


def main() -> None:
    lines = sys.stdin.read().splitlines()
    names = {node[1]: node[2] for node in filter(None, map(NODE.match, lines)) if node[2] != "all"}
    print("digraph { rankdir=LR; ranksep=0.35; nodesep=0.12;")
    print('edge [color="#999999", arrowsize=0.6];')
    print('node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11, height=0.3];')
    for name in sorted(names.values()):
        colour = SHOWS if name.endswith(RESULTS) else COMPUTES
        print(f'{name} [label="{name.replace("_", " ")}", fillcolor="{colour}"];')
    for edge in filter(None, map(EDGE.match, lines)):
        if {edge[1], edge[2]} <= set(names):
            print(f"{names[edge[1]]} -> {names[edge[2]]};")
    print("}")


if __name__ == "__main__":
    main()
