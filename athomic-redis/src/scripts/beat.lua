-- Keep a session alive in buckets, and tell it what it is asked for.
--
-- ARGV: time, session, time to live; then a 0 for each bucket. KEYS: for each bucket s f m q.
-- Returns the server's INFO, and for each bucket: state, token, bytes, messages, wanted ...
local NEW, LIVE, LAPSED = 1, 2, 3
local FORGOTTEN, WANTED = 600000, 512

local me, ttl = ARGV[2], tonumber(ARGV[3])
local out = { call('INFO', 'server') .. call('INFO', 'replication') }

local function bucket(ks, kf, km, kq)
  local ends = call('ZSCORE', ks, me)
  local state = not ends and NEW or tonumber(ends) > now and LIVE or LAPSED
  if state ~= LAPSED then call('ZADD', ks, now + ttl, me) end
  local dead = call('ZRANGEBYSCORE', ks, '-inf', now - FORGOTTEN)
  for i = 1, #dead do
    if dead[i] ~= me then
      call('ZREM', ks, dead[i])
      call('ZREMRANGEBYLEX', kq, '[' .. dead[i] .. '|', '(' .. dead[i] .. '}')
    end
  end
  local wanted = call('ZRANGEBYLEX', kq, '[' .. me .. '|', '(' .. me .. '}', 'LIMIT', 0, WANTED)
  if #wanted > 0 then call('ZREM', kq, unpack(wanted)) end
  local sums = call('HMGET', km, 'b', 'c')
  local reply = { state, call('GET', kf) or '0', sums[1] or '0', sums[2] or '0' }
  for i = 1, #wanted do reply[i + 4] = sub(wanted[i], #me + 2) end
  return reply
end

for key = 0, #KEYS - 4, 4 do
  out[#out + 1] = bucket(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], KEYS[key + 4])
end
return out
