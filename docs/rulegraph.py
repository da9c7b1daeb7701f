"""Make Snakemake's graph of rules, read from standard input, one that fits a page.

The rules of a stage that differ in their domain and runs only become one box, the rule that asks
for everything goes. `make rulegraph` runs it.
"""

import re
import sys

COLOURS = {False: "#dce9f5", True: "#fbe3cf"}  # what computes, what shows
NODE = re.compile(r'^\s*(\d+)\[label = "([\w-]+)"')
EDGE = re.compile(r"^\s*(\d+) -> (\d+)")


def main() -> None:
    domain, lines = sys.argv[1], sys.stdin.read().splitlines()
    nodes = filter(None, map(NODE.match, lines))
    names = {node[1]: re.sub(rf"_{domain}_[\w-]+", "", node[2]) for node in nodes}
    edges = {(names[edge[1]], names[edge[2]]) for edge in filter(None, map(EDGE.match, lines))}
    print("digraph { rankdir=LR; ranksep=0.35; nodesep=0.12;")
    print('edge [color="#999999", arrowsize=0.6];')
    print('node [shape=box, style="rounded,filled", fontname=Helvetica, fontsize=11, height=0.3];')
    for name in sorted({*names.values()} - {"all"}):
        result = name.endswith(("figure", "table", "tables", "summary", "steps"))
        print(f'{name} [label="{name.replace("_", " ")}", fillcolor="{COLOURS[result]}"];')
    for start, end in sorted(edges):
        if end != "all" and start != end:
            print(f"{start} -> {end};")
    print("}")


if __name__ == "__main__":
    main()
