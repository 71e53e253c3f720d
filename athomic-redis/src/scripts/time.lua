-- The store's clock: Redis' own, unless a test drives it. `us` are microseconds, `now` milliseconds.
local call, sub = redis.call, string.sub
local us = tonumber(ARGV[1])
if not us then
  local time = call('TIME')
  us = time[1] * 1000000 + time[2]
end
local now = math.floor(us / 1000)
