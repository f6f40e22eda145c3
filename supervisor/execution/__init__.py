"""Run tasks: start their processes, watch them, judge their outcome and end their process trees."""
