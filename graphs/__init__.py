"""Graph-Native Memory: long-term memory as part of the LangGraph graph."""
