"""The console's questions in GraphQL, as `web/schema.graphql` agrees them; asked at POST /graphql with a bearer token.

endpoint   one request: who, how long, how large, what went wrong
limits     what a question may cost, before it is answered
schema     the types and the resolvers, put together
query, mutation, types_*   what can be asked
"""
