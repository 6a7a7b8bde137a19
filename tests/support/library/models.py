"""Models of every kind of inheritance, installed by the tests that need them."""

from __future__ import annotations

from django.db import models

from dispatch.api import HookedManager


class Named(models.Model):
    """An abstract base."""

    name = models.CharField(max_length=50)

    class Meta:
        abstract = True


class Item(Named):
    pass


class Book(Item):
    """A child with a table of its own."""

    pages = models.IntegerField(default=0)


class Atlas(Book):
    """A child of the child."""

    maps = models.IntegerField(default=0)


class Novel(Book):
    """A proxy of the child."""

    class Meta:
        proxy = True


class Shelf(Named):
    """The other concrete model of the abstract base."""


class Visitor(Named):
    """A model that no test ever hooks: receivers of deletes are connected for good."""


class Guest(Named):
    """A model whose relations no test ever hooks."""

    shelves = models.ManyToManyField(Shelf)


class Member(Named):
    """Swapped out where the project has its own."""

    class Meta:
        swappable = "LIBRARY_MEMBER_MODEL"


class Reader(Named):
    """What a project has in its place."""


class Seat(models.Model):
    """A model whose key is made of two columns."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.CharField(max_length=5)
    number = models.IntegerField()
    taken = models.BooleanField(default=False)
    objects = HookedManager()
