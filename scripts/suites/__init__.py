# SPDX-License-Identifier: Apache-2.0
"""What scripts/test runs: the suites, how each is started, and how its results are counted. Standard library only."""
