"""The review page: a local web application on a store and its catalog, where people look, name and correct."""
