"""Topological order and convexity against their definitions, on random graphs."""

import itertools

import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from trtlab.graph.order import Region, numbered, predecessors, topological_order


@st.composite
def edges(draw):
    count = draw(st.integers(1, 7))
    pairs = list(itertools.combinations(range(count), 2))
    return count, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []


def nodes_of(count, pairs):
    """Node b reads node a for every pair (a, b)."""
    nodes = []
    for number in range(count):
        inputs = [nodes[a].outputs[0] for a, b in pairs if b == number]
        nodes.append(ir.Node("", "Sum", inputs, name=f"n{number}"))
    ir.Graph([], [], nodes=nodes)
    return nodes


@given(edges(), st.randoms())
def test_every_node_stands_behind_what_it_reads(graph, random):
    nodes = nodes_of(*graph)
    assert topological_order(nodes) == nodes  # sorted already: unchanged
    random.shuffle(nodes)
    order = topological_order(nodes)
    assert sorted(map(id, order)) == sorted(map(id, nodes))
    assert all(order.index(maker) < order.index(node) for node in nodes for maker in predecessors(node))


def comes_back(chosen, count, pairs):
    """Whether a path leaves the chosen nodes and leads to one of them again, by its definition."""
    outside = set(range(count)) - chosen
    reached = {b for a, b in pairs if a in chosen and b in outside}
    while more := {b for a, b in pairs if a in reached and b in outside} - reached:
        reached |= more
    return any(a in reached and b in chosen for a, b in pairs)


@given(edges(), st.data())
def test_a_region_that_grows_takes_what_keeps_it_convex(graph, data):
    nodes = nodes_of(*graph)
    nodes[0].graph.meta["places"] = numbered(nodes[0].graph)
    first, *others = data.draw(st.permutations(range(len(nodes))))
    grown, members = Region(nodes[first]), {first}
    for number in others:
        fits = not comes_back(members | {number}, *graph)
        assert grown.can_take(nodes[number]) == fits
        if fits:
            grown.add(nodes[number])
            members.add(number)
