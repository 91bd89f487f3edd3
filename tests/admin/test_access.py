"""Who may what; logins, headers, and the production settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client
from django_q.models import Schedule

from bytemark_sync.queue.schedules import SYNC
from tests.support.admin_data import Filled
from tests.support.harness import manage

PASSWORD = "a-long-made-up-password"
NEW_PASSWORD = {"usable_password": "true", **dict.fromkeys(("password1", "password2"), "another-long-password")}
DAILY = "/admin/bytemark_sync/syncrun/daily/"


class TestGroups:
    @pytest.mark.slow
    def test_migrate_makes_three_and_leaves_a_changed_one_alone(self, db: None) -> None:
        def rights(name: str) -> set[str]:
            return set(Group.objects.get(name=name).permissions.values_list("codename", flat=True))

        viewer, operator, manager = rights("viewer"), rights("operator"), rights("manager")
        assert all(codename.startswith("view_") for codename in viewer)
        assert operator - viewer == {"resync"}
        assert manager - operator == {"schedule", "view_schedule", "view_success", "view_failure", "view_ormq"}
        Group.objects.get(name="operator").permissions.clear()
        call_command("migrate", verbosity=0)
        assert rights("operator") == set()
        assert rights("manager") == manager

    @pytest.mark.slow
    @pytest.mark.parametrize("group", ["viewer", "operator", "manager"])
    def test_nobody_changes_records_here(self, logged_in: Callable[[str], Client], filled: Filled, group: str) -> None:
        client = logged_in(group)
        for name in ("pendingorder", "portaluser", "order", "orderitem", "orderattempt", "syncrun"):
            assert client.get(f"/admin/bytemark_sync/{name}/add/").status_code == 403
            assert client.get(f"/admin/bytemark_sync/{name}/1/delete/").status_code == 403
            assert client.post(f"/admin/bytemark_sync/{name}/1/change/", {"amount": "9"}).status_code in (302, 403)


class TestSchedules:
    @pytest.mark.slow
    @pytest.mark.parametrize(("group", "sees"), [("viewer", 403), ("operator", 403), ("manager", 200)])
    def test_only_superusers_write_schedules(self, logged_in: Callable[[str], Client], group: str, sees: int) -> None:
        client = logged_in(group)
        schedule = Schedule.objects.get(func=SYNC)
        assert client.get("/admin/django_q/schedule/").status_code == sees
        assert client.get("/admin/django_q/schedule/add/").status_code == 403
        evil = {"func": "os.system", "args": "'true'", "schedule_type": "O", "repeats": "1"}
        assert client.post("/admin/django_q/schedule/add/", evil).status_code == 403
        assert client.post(f"/admin/django_q/schedule/{schedule.pk}/change/", evil).status_code == 403
        assert client.post(f"/admin/django_q/schedule/{schedule.pk}/delete/").status_code == 403
        assert not Schedule.objects.filter(func="os.system").exists()

    def test_a_superuser_does(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("superuser")
        assert client.get("/admin/django_q/schedule/add/").status_code == 200
        assert client.get("/admin/django_q/failure/").status_code == 200

    def test_a_manager_sets_when_the_daily_run_is_due_and_nothing_else(
        self, logged_in: Callable[[str], Client]
    ) -> None:
        client = logged_in("manager")
        assert "0 3 * * *" in client.get(DAILY).content.decode()
        assert (
            "The daily run is due next on"
            in client.post(DAILY, {"cron": "30 4 * * *", "confirmed": "1"}, follow=True).content.decode()
        )
        schedule = Schedule.objects.get(func=SYNC)
        assert schedule.cron == "30 4 * * *"
        assert (schedule.next_run.hour, schedule.next_run.minute) == (4, 30)
        for wrong in ("", "x", "0 3 * *", "99 3 * * *", "0 3 * * * *", "@daily"):
            assert client.post(DAILY, {"cron": wrong}).status_code == 200
        assert Schedule.objects.get(func=SYNC).cron == "30 4 * * *"

    @pytest.mark.parametrize("group", ["viewer", "operator"])
    def test_others_do_not(self, logged_in: Callable[[str], Client], group: str) -> None:
        client = logged_in(group)
        assert client.get(DAILY).status_code == 403
        assert client.post(DAILY, {"cron": "* * * * *"}).status_code == 403


class TestLogin:
    def _try(self, client: Client, password: str, address: str = "10.0.0.1") -> Any:
        data = {"username": "ada", "password": password, "next": "/admin/"}
        return client.post("/admin/login/", data, REMOTE_ADDR=address)

    def test_five_wrong_passwords_close_it_for_a_while(self, db: None) -> None:
        User.objects.create_superuser("ada", "", PASSWORD)
        client = Client()
        for _ in range(4):
            assert self._try(client, "wrong").status_code == 200
        refused = self._try(client, "wrong")
        assert refused.status_code == 429
        assert "Too many attempts" in refused.content.decode()
        assert self._try(client, PASSWORD).status_code == 429
        assert self._try(Client(), PASSWORD, "10.0.0.2").status_code == 302
        call_command("axes_reset", verbosity=0)
        assert self._try(client, PASSWORD).status_code == 302

    def test_a_right_password_forgets_the_wrong_ones(self, db: None) -> None:
        User.objects.create_superuser("ada", "", PASSWORD)
        for _ in range(3):
            client = Client()
            for _ in range(4):
                self._try(client, "wrong")
            assert self._try(client, PASSWORD).status_code == 302

    @pytest.mark.parametrize(
        ("proxies", "forwarded", "address"),
        [
            (0, "203.0.113.7", "10.0.0.1"),  # a header that anybody may send
            (1, "203.0.113.7", "203.0.113.7"),
            (1, "198.51.100.1, 203.0.113.7", "203.0.113.7"),  # the first is what the client made up
            (2, "198.51.100.1, 203.0.113.7, 10.9.9.9", "203.0.113.7"),
            (2, " 203.0.113.7:4711 ,10.9.9.9", "203.0.113.7"),
            (1, "[2001:db8::7]:4711", "2001:db8::7"),
            (1, "2001:db8::7", "2001:db8::7"),
            (2, "203.0.113.7", "10.0.0.1"),  # did not come through both
            (1, "unknown", "10.0.0.1"),
            (1, "' OR 1=1", "10.0.0.1"),
            (1, "", "10.0.0.1"),
        ],
    )
    def test_the_address_is_what_the_last_trusted_proxy_saw(
        self, db: None, settings: Any, proxies: int, forwarded: str, address: str
    ) -> None:
        settings.TRUSTED_PROXIES = proxies
        User.objects.create_superuser("ada", "", PASSWORD)
        headers = {"x-forwarded-for": forwarded} if forwarded else {}
        data = {"username": "ada", "password": "wrong"}
        Client(headers=headers).post("/admin/login/", data, REMOTE_ADDR="10.0.0.1")
        assert AccessAttempt.objects.get().ip_address == address

    def test_behind_a_proxy_one_persons_mistakes_lock_nobody_else_out(self, db: None, settings: Any) -> None:
        settings.TRUSTED_PROXIES = 1
        User.objects.create_superuser("ada", "", PASSWORD)
        stranger, ada = (Client(headers={"x-forwarded-for": each}) for each in ("203.0.113.7", "203.0.113.8"))
        for _ in range(4):
            self._try(stranger, "wrong")
        assert self._try(stranger, "wrong").status_code == 429
        assert self._try(ada, PASSWORD).status_code == 302


class TestStaff:
    """Somebody with every right of the tables of people, but not a superuser."""

    @pytest.fixture
    def clerk(self, db: None) -> Client:
        clerk = User.objects.create_user("clerk", "", PASSWORD, is_staff=True)
        clerk.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
        client = Client()
        client.force_login(clerk, backend="django.contrib.auth.backends.ModelBackend")
        return client

    def _all_of(self, user: User) -> dict[str, Any]:
        """What somebody who forges the form would send."""
        return {
            "username": user.username,
            "first_name": "Changed",
            "is_active": "on",
            "is_staff": "on",
            "is_superuser": "on",
            "groups": [group.pk for group in Group.objects.all()],
            "user_permissions": [each.pk for each in Permission.objects.filter(codename="resync")],
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            "password": "made-up",
            "_save": "1",
        }

    @pytest.mark.parametrize("who", ["clerk", "viewer"])
    def test_permissions_are_a_superusers(self, clerk: Client, who: str) -> None:
        user = User.objects.filter(username=who).first() or User.objects.create_user(who, "", PASSWORD, is_staff=True)
        before = set(user.get_all_permissions()), user.password
        response = clerk.post(f"/admin/auth/user/{user.pk}/change/", self._all_of(user))
        user = User.objects.get(pk=user.pk)
        assert (response.status_code, user.first_name) == (302, "Changed")
        assert (set(user.get_all_permissions()), user.password) == before
        assert not user.is_superuser
        assert user.groups.count() == 0

    def test_passwords_of_others_are_a_superusers(self, clerk: Client) -> None:
        for user in (User.objects.create_user("bob", "", PASSWORD), User.objects.create_superuser("ada", "", PASSWORD)):
            url = f"/admin/auth/user/{user.pk}/password/"
            assert clerk.get(url).status_code == 403
            assert clerk.post(url, NEW_PASSWORD).status_code == 403
            assert url not in clerk.get(f"/admin/auth/user/{user.pk}/change/").content.decode()
            assert User.objects.get(pk=user.pk).check_password(PASSWORD)

    def test_a_superuser_is_a_superusers_to_change_or_delete(self, clerk: Client) -> None:
        ada = User.objects.create_superuser("ada", "", PASSWORD)
        url = f"/admin/auth/user/{ada.pk}/"
        assert clerk.post(f"{url}change/", self._all_of(ada)).status_code == 403
        assert clerk.post(f"{url}delete/", {"post": "yes"}).status_code == 403
        chosen = {"action": "delete_selected", "_selected_action": [ada.pk], "post": "yes"}
        clerk.post("/admin/auth/user/", chosen)
        assert User.objects.get(pk=ada.pk).first_name == ""

    def test_groups_are_a_superusers(self, clerk: Client) -> None:
        group = Group.objects.get(name="viewer")
        before = group.permissions.count()
        assert clerk.get("/admin/auth/group/").status_code == 200
        change = {"name": "viewer", "permissions": [each.pk for each in Permission.objects.all()]}
        assert clerk.post(f"/admin/auth/group/{group.pk}/change/", change).status_code == 403
        assert clerk.post("/admin/auth/group/add/", change | {"name": "mine"}).status_code == 403
        assert clerk.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403
        assert (Group.objects.count(), group.permissions.count()) == (3, before)

    def test_a_superuser_does_all_of_it(self, logged_in: Callable[[str], Client]) -> None:
        root, bob = logged_in("superuser"), User.objects.create_user("bob", "", PASSWORD)
        assert root.post(f"/admin/auth/user/{bob.pk}/change/", self._all_of(bob)).status_code == 302
        assert root.post(f"/admin/auth/user/{bob.pk}/password/", NEW_PASSWORD).status_code == 302
        bob = User.objects.get(pk=bob.pk)
        assert (bob.is_superuser, bob.groups.count()) == (True, 3)
        assert bob.check_password("another-long-password")


class TestDebugPage:
    CODE = """
import os
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "127.0.0.1"})
client.cookies["sessionid"] = "x" * 32  # so that the page asks the database
meta = {name: os.environ[name] for name in ("DATABASE_URL", "REDIS_URL")}  # as runserver puts them there
page = client.get("/admin/", **meta).content.decode()
print("OperationalError" in page, "Request information" in page, "s3cret" in page, "h1dden" in page)
"""

    @pytest.mark.slow
    def test_it_shows_no_address_with_a_password(self) -> None:
        url = "mysql://portal:s3cret-pass@127.0.0.1:1/portal"
        env = {"REDIS_URL": "redis://:h1dden-pass@127.0.0.1:1/0"}
        done = manage("shell", "-v", "0", "-c", self.CODE, database_url=url, env=env)
        assert done.stdout.split() == ["True", "True", "False", "False"], done.stderr


class TestHeaders:
    def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("superuser")
        for url in ("/admin/login/", "/admin/", "/admin/bytemark_sync/pendingorder/"):
            response = client.get(url)
            policy = dict(
                part.strip().split(" ", 1) for part in response["Content-Security-Policy"].split(";") if part.strip()
            )
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == "'self' 'unsafe-eval'"
            assert policy["style-src"] == "'self'"
            assert policy["frame-ancestors"] == "'none'"
            assert "http" not in response["Content-Security-Policy"]
            html = response.content.decode()
            assert "<style" not in html
            assert 'src="http' not in html
            assert response["X-Frame-Options"] == "DENY"
            assert response["Referrer-Policy"] == "same-origin"


class TestProduction:
    ENV = {
        "DEBUG": "0",
        "SECRET_KEY": "made-up-but-long-and-with-many-different-letters-0123456789",
        "ALLOWED_HOSTS": "sync.example.com,127.0.0.1",
        "SITE_URL": "https://sync.example.com",
        "BYTEMARK_CUSTOMER_API_URL": "https://bytemark.example.com",
    }

    def test_check_deploy_is_clean(self, sqlite_database_url: str) -> None:
        done = manage("check", "--deploy", "--fail-level", "INFO", database_url=sqlite_database_url, env=self.ENV)
        assert done.status == 0, done.stderr
        assert "no issues" in done.stdout

    def test_plain_http_leads_to_https_except_for_monitors(self, sqlite_database_url: str) -> None:
        code = (
            "from django.test import Client\n"
            "c = Client(headers={'host': '127.0.0.1'})\n"
            "print(c.get('/admin/').status_code, c.get('/admin/')['Location'])\n"
            "print(c.get('/healthz').status_code, c.get('/metrics').status_code)\n"
            "r = c.get('/admin/login/', headers={'x-forwarded-proto': 'https'})\n"
            "print(r.status_code, r['Strict-Transport-Security'])\n"
            "print(r.cookies['csrftoken']['secure'], r.cookies['csrftoken']['httponly'])\n"
        )
        done = manage("shell", "-v", "0", "-c", code, database_url=sqlite_database_url, env=self.ENV)
        assert done.status == 0, done.stderr
        first, monitors, login, cookie = done.stdout.strip().splitlines()
        assert first == "301 https://127.0.0.1/admin/"
        assert "301" not in monitors
        assert login == "200 max-age=31536000; includeSubDomains; preload"
        assert cookie == "True True"
