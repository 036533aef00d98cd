"""Topological order and convexity against their definitions, on random graphs."""

import itertools

import onnx_ir as ir
from hypothesis import given
from hypothesis import strategies as st

from trtlab.graph.order import Region, is_convex, numbered, predecessors, topological_order


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


@given(edges(), st.data())
def test_convex_is_no_path_out_and_back(graph, data):
    count, pairs = graph
    chosen = set(data.draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True)))
    outside = set(range(count)) - chosen
    reached = {b for a, b in pairs if a in chosen and b in outside}
    while more := {b for a, b in pairs if a in reached and b in outside} - reached:
        reached |= more
    comes_back = any(a in reached and b in chosen for a, b in pairs)
    nodes = nodes_of(*graph)
    assert is_convex([nodes[number] for number in chosen]) == (not comes_back)


@given(edges(), st.data())
def test_a_region_that_grows_takes_what_keeps_it_convex(graph, data):
    nodes = nodes_of(*graph)
    nodes[0].graph.meta["places"] = numbered(nodes[0].graph)
    region = [nodes[data.draw(st.integers(0, len(nodes) - 1))]]
    grown = Region(region[0])
    for node in data.draw(st.permutations([node for node in nodes if node is not region[0]])):
        assert grown.can_take(node) == is_convex([*region, node])
        if is_convex([*region, node]):
            grown.add(node)
            region.append(node)
