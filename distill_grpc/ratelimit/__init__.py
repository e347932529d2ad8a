"""How often each user may call: counted by all processes of a machine, or by a whole fleet in Redis."""

from distill_grpc.ratelimit.local import LocalCallLimiter
from distill_grpc.ratelimit.redis import RedisCallLimiter
from distill_grpc.ratelimit.window import CallLimiter, Verdict

__all__ = ["CallLimiter", "LocalCallLimiter", "RedisCallLimiter", "Verdict"]
