# SPDX-License-Identifier: Apache-2.0
"""The steps of scripts/demo. Nodes, pods, agents and captures are those of tests/harness/culvert_harness."""
