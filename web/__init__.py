"""What every route uses: request bodies and queries, responses, observation, the documentation."""
