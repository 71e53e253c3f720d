-- Change an aggregate by hand or by policy.
--
-- ARGV: time, sweep, time to live, what, value. KEYS: s f m r q g h a w p.
-- Returns 1.
local sweep, ttl, what, value = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local ks, kf, km, kr, kq, kg, kh = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local ka, kw, kp = KEYS[8], KEYS[9], KEYS[10]
local name = sub(ka, #kf + 2)

-- The sequence before one, which is not the first.
local function before(sequence)
  local low = tonumber(sub(sequence, 6)) - 1
  if low >= 0 then
    return sub(sequence, 1, 5) .. string.format('%015.0f', low)
  end
  return string.format('%05d', tonumber(sub(sequence, 1, 5)) - 1) .. '999999999999999'
end

local function known()
  local ends = tonumber(call('HGET', ka, 'z') or nil)
  if ends and ends <= now then call('DEL', ka) end
  return call('EXISTS', ka) == 1
end

-- Have whoever holds the aggregate look at it, also if nothing of it runs there.
local function tell_owner()
  local owner = call('HGET', ka, 'o')
  local ends = owner and owner ~= '' and call('ZSCORE', ks, owner)
  if ends and tonumber(ends) > now then call('ZADD', kq, 0, owner .. '|' .. name) end
end

-- From now on something is known of it.
local function know()
  call('HSETNX', ka, 't', now)
end

-- Correct the sums by what was removed.
local function gone(count, bytes)
  if count > 0 then
    call('HINCRBY', ka, 'n', 0 - count)
    call('HINCRBY', ka, 'b', 0 - bytes)
    forget(km, count, bytes)
  end
end

-- Expect a sequence next; whoever holds the aggregate does so no longer.
local function expect(sequence)
  local token = math.max(tonumber(call('GET', kf) or 0) + 1, us)
  call('SET', kf, token)
  call('HSET', ka, 'x', sequence, 'o', '', 'f', token, 'd', '', 'g', '', 'k', 0)
  call('ZREM', kg, name)
  gone(purge(kw, kp, sequence))
end

local function schedule()
  local state = call('HMGET', ka, 'x', 'o', 'h', 'g', 'n', 'z')
  local count = tonumber(state[5] or 0)
  local gap = reschedule(kw, kr, kg, name, state[1], state[2], state[3], state[4], count, sweep)
  call('HSET', ka, 'g', gap)
  local idle = count == 0 and (not state[2] or state[2] == '') and not state[3]
  expire(ka, ttl, state[6], idle)
end

local is_known = known()
if what == 'note' then
  if is_known then call('HSET', ka, 'e', value) end
  return 1
elseif what == 'unsettled' then
  local state = call('HMGET', ka, 'x', 'h')
  if not is_known or state[1] then return 1 end
  if not state[2] then
    call('HSET', ka, 'h', value)
    call('ZADD', kh, 0, name)
  end
elseif what == 'begun' then
  local state = call('HMGET', ka, 'o', 'f', 'k')
  if state[1] and state[1] ~= '' and state[2] == value then
    local k = tonumber(state[3] or 0)
    call('HSET', ka, 'k', k - k % 2 + 1)
  end
  return 1
elseif what == 'forget' then
  forget(km, purge(kw, kp, '~'))
  call('DEL', ka, kw, kp)
  call('ZREM', kr, name)
  call('ZREM', kg, name)
  call('ZREM', kh, name)
  for _, wanted in ipairs(call('ZRANGE', kq, 0, -1)) do
    if sub(wanted, 34) == name then call('ZREM', kq, wanted) end
  end
  return 1
elseif what == 'remove' then
  if not is_known then return 1 end
  gone(remove(kw, kp, value))
else
  know()
  if what == 'halt' then
    call('HSET', ka, 'h', value)
    call('ZADD', kh, 0, name)
    tell_owner()
  elseif what == 'condemn' then
    call('HSET', ka, 'c', value)
    tell_owner()
  elseif what == 'resume' then
    call('HDEL', ka, 'h', 'c')
    call('HSET', ka, 'k', 0)
    call('ZREM', kh, name)
    if value == '' then
      local head = call('ZRANGE', kw, 0, 0)[1]
      if head then call('HSETNX', ka, 'x', head) end
    else
      -- What was not done below is late from now on.
      local state = call('HMGET', ka, 'x', 's')
      local x = state[1]
      if x and x < value then call('HSET', ka, 's', skipped(state[2], x, before(value))) end
      expect(value)
    end
  elseif what == 'restore' then
    local x = call('HGET', ka, 'x')
    if not x then
      call('HDEL', ka, 'h')
      call('ZREM', kh, name)
    end
    if not x or x < value then expect(value) end
  end
end
schedule()
return 1
