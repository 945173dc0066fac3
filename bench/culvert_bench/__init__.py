# SPDX-License-Identifier: Apache-2.0
"""Culvert's figures: the same pods' programs with and without the mesh, alternating, on two nodes of network namespaces.

Nodes, pods and agents are those of tests/harness/culvert_harness. Standard library only; needs root and the release build.
"""
