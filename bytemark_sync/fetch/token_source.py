"""A user's tokens, each once: those that are known, then those that are asked for, then one from a login."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator

from bytemark_sync.bytemark.account import AccountClient, NotSent
from bytemark_sync.bytemark.account_errors import LoginCause, LoginRefused
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.errors import BytemarkError, Interrupted
from bytemark_sync.bytemark.retry import Attempts
from bytemark_sync.bytemark.token import Credentials, Token
from bytemark_sync.domain.logins import LoginEnd, LoginState
from bytemark_sync.domain.matching import PendingUser
from bytemark_sync.fetch.questions import Answer, LoggedIn, LogIn, NeedsToken, NoLogin, Question, TryTokens
from bytemark_sync.fetch.repeating import repeated

MAX_QUESTIONS = 10
"""A portal that has another useless token each time must not hold a user for ever."""

Asking = Generator[int | Question, Answer | None, None]


class TokenSource:
    """`given`: tokens that were asked for. `login`: how a login ended that gave no token that works."""

    def __init__(
        self,
        client: BytemarkClient,
        user: PendingUser,
        tokens: tuple[Token, ...],
        account: AccountClient | None,
        attempts: Attempts,
    ) -> None:
        self._client = client
        self._user = user
        self._account = account
        self._attempts = attempts
        self._waiting = deque(tokens)
        self._questions = 0
        self._is_over = account is None
        self._from_login: Token | None = None
        self._rejected = ""
        self._no_login = ""
        self.tried: list[Token] = []
        self.given: set[Token] = set()
        self.login: LoginEnd | None = None

    def next(self) -> Generator[int | Question, Answer | None, Token | None]:
        """The next token; None if there is no other. Raises what a failed login raises, and `Interrupted`."""
        while not self._waiting:
            if self._is_over or self._questions >= MAX_QUESTIONS:
                return None
            self._questions += 1
            yield from self._take(self._answer((yield NeedsToken(self._user.user_id, tuple(self.tried)))))
        token = self._waiting.popleft()
        self.tried.append(token)
        return token

    def rejected(self, token: Token, detail: str, *, was_answered: bool) -> None:
        """Bytemark has rejected the token. `was_answered`: it had given a page with it before."""
        self._rejected = detail
        if token == self._from_login and not was_answered:
            cause = LoginCause.NEW_TOKEN_REJECTED
            self.login = LoginEnd(LoginState.REFUSED, f"{cause.words}: {detail}", cause)

    def words(self) -> str:
        """Why there is no other token."""
        if not self.tried:
            tokens = "The user has no token, on no order and not in bytemark_tokens."
        else:
            which = "The user's only token was" if len(self.tried) == 1 else f"All {len(self.tried)} tokens were"
            tokens = f"{which} rejected; the last: {self._rejected}"
        why = self.login.detail if self.login else self._no_login
        return f"{tokens.rstrip('.')}. Not renewed: {why}." if why else tokens

    def _take(self, answer: Answer) -> Asking:
        match answer:
            case TryTokens(tokens):
                self._add(tokens)
            case LogIn(credentials):
                yield from self._log_in(credentials)
            case NoLogin(words):
                self._is_over, self._no_login = True, words
            case _:
                raise Interrupted

    def _add(self, tokens: tuple[Token, ...]) -> None:
        for token in tokens:
            if token not in self.tried and token not in self._waiting:
                self._waiting.append(token)
                self.given.add(token)

    def _log_in(self, credentials: Credentials) -> Asking:
        try:
            token = yield from self._logged_in(credentials)
        except LoginRefused as refused:
            self._is_over = True
            self.login = LoginEnd(LoginState.REFUSED, refused.detail, refused.cause)
            return
        self._from_login = token
        yield from self._take(self._answer((yield LoggedIn(self._user.user_id, token))))

    def _logged_in(self, credentials: Credentials) -> Generator[int, None, Token]:
        account, attempts = self._account, self._attempts
        assert account is not None  # noqa: S101 - without one nothing is asked
        is_under_way = False

        def send() -> Token:
            nonlocal is_under_way
            is_under_way = True
            try:
                return account.log_in(credentials, user=attempts.user, is_last=attempts.used + 1 >= attempts.maximum)
            except NotSent:
                is_under_way = False
                raise
            except Interrupted:
                raise
            except BytemarkError:
                is_under_way = False
                raise

        try:
            return (yield from repeated(self._client, attempts, send))
        except Interrupted:
            if not is_under_way:  # otherwise nobody knows what came of it
                self.login = LoginEnd(LoginState.NOT_SENT)
            raise
        except LoginRefused:
            raise
        except BytemarkError as error:
            self.login = LoginEnd(LoginState.UNANSWERED, f"the account API gave no token: {error.detail}")
            raise

    @staticmethod
    def _answer(sent: Answer | None) -> Answer:
        """What the engine has sent. Without one (`next`) the fetch is to stop."""
        if sent is None:
            raise Interrupted
        return sent
