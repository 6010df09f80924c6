"""The words that every part of RSPP speaks: event, signal, decision, plan, evidence, error; pure, and layer 0."""
