-- Leases on aggregates whose next message waits.
--
-- ARGV: time, session, frames, after how long a gap is told or -1, 1 if nothing more fits, settle, 1 if the lowest
-- then begins, sweep; then for each bucket the number of elements.
-- KEYS: for each bucket s f r q g, and of each element a w p.
-- Returns for each element a code, or a list that begins with it.
local EMPTY, HALTED, BUSY, WAITING, LAPSED = 1, 2, 3, 4, 5
local GRANTED, MINE, GAP, UNSETTLED = 6, 7, 8, 9

local me, limit = ARGV[2], tonumber(ARGV[3])
local gap_after, crowded = tonumber(ARGV[4]), ARGV[5] == '1'
local settle, begins, sweep = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])
local out, key, arg, args = {}, 0, 9, #ARGV
local ks, kf, kr, kq, kg
local token, granted

local function is_live(session)
  local ends = call('ZSCORE', ks, session)
  return ends and tonumber(ends) > now
end

local function grant(ka, k)
  if not token then token = tonumber(call('GET', kf) or 0) end
  token = math.max(token + 1, us)
  granted = true
  call('HSET', ka, 'o', me, 'f', token, 'k', k)
  return token
end

-- Append frames to a list.
local function with(list, frames)
  for i = 1, #frames do list[#list + 1] = frames[i] end
  return list
end

local function claim(ka, kw, kp)
  local state = call('HMGET', ka, 'x', 'o', 'f', 'k', 'h', 'c', 'n', 'g', 't', 'l')
  local name, count = sub(ka, #kf + 2), tonumber(state[7] or 0)
  if count == 0 or state[5] then
    call('ZREM', kr, name)
    return count == 0 and EMPTY or HALTED
  end
  local x, owner, head = state[1], state[2], call('ZRANGE', kw, 0, 0)[1]
  local soon, condemned = now + sweep, state[6] and 1 or 0
  if owner == me then
    call('ZADD', kr, soon, name)
    return with({ MINE, x, state[3], deliveries(state[4]), condemned }, take(kp, x, limit, count))
  elseif owner and owner ~= '' and is_live(owner) then
    if x == head then call('ZADD', kq, 0, owner .. '|' .. name) end
    call('ZADD', kr, soon, name)
    return BUSY
  end
  if not x then
    local settled = tonumber(state[9] or 0) + settle
    if settled > now then
      call('ZADD', kr, settled, name)
      return WAITING
    end
    if not begins then
      call('ZADD', kr, soon, name)
      return UNSETTLED
    end
    x = head
    call('HSET', ka, 'x', x)
  end
  local k = bury(state[4])
  if head == x then
    local new = grant(ka, begin(k))
    call('ZADD', kr, soon, name)
    return with({ GRANTED, x, new, deliveries(k), condemned }, take(kp, x, limit, count))
  end
  local since = tonumber(state[8] ~= '' and state[8] or nil)
  local anew = tonumber(state[10] ~= '' and state[10] or nil)
  if owner and owner ~= '' then
    -- A process died, and what is missing may have been with it.
    since, anew = now, now
    call('HSET', ka, 'o', '', 'k', k, 'g', since, 'l', anew)
    call('ZADD', kg, since, name)
  elseif not since then
    since = now
    call('HSET', ka, 'g', since)
    call('ZADD', kg, since, name)
  end
  local at_once = crowded and since ~= anew
  if gap_after >= 0 and (at_once or since + gap_after <= now) then
    local new = grant(ka, k)
    call('HSET', ka, 'i', new)
    call('ZADD', kr, soon, name)
    return { GAP, x, new, deliveries(k), condemned, head, since }
  end
  call('ZADD', kr, gap_after >= 0 and since + gap_after or now + 30 * sweep, name)
  return WAITING
end

while arg <= args do
  local elements = tonumber(ARGV[arg])
  arg = arg + 1
  ks, kf, kr, kq, kg = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], KEYS[key + 4], KEYS[key + 5]
  key = key + 5
  token, granted = nil, nil
  local live = is_live(me)
  for _ = 1, elements do
    out[#out + 1] = live and claim(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3]) or LAPSED
    key = key + 3
  end
  if granted then call('SET', kf, token) end
end
return out
