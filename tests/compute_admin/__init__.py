"""Tests of what compute is besides servers."""
