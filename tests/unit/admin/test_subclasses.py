"""The admin's classes as bases of a project's own."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.test import RequestFactory

import dispatch.admin as pages


@pytest.mark.parametrize("name", [name for name in pages.__all__ if name != "DispatchedAdmin"])
def test_each_class_can_be_subclassed_and_registered_in_place_of_the_other(name, admin_user):
    base = getattr(pages, name)
    [model] = [model for model, each in admin.site._registry.items() if type(each) is base]
    own = type("Own", (base,), {"list_per_page": 7})
    site = admin.AdminSite("admin")
    site.register(model, base)
    site.unregister(model)
    site.register(model, own)
    request = RequestFactory().get("/")
    request.user = admin_user
    response = site.get_model_admin(model).changelist_view(request)
    assert response.context_data["cl"].list_per_page == 7
    assert response.render().status_code == 200
