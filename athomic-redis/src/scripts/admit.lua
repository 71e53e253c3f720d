-- What to do with messages that arrived.
--
-- ARGV: time, session, messages, bytes, bucket's messages, bucket's bytes, sweep, 1 if replicas
-- are waited for; then for each bucket the number of elements and of each: sequence, digest, record's time,
-- first, digest and frame.
-- KEYS: for each bucket s f m r q g h, and of each element a w p.
-- Returns codes in the order of the elements; a grant is followed by token, deliveries, and how many wait.
local INVALID, UNKNOWN, LATE, CONFLICT, DUPLICATE, NEWER = 1, 2, 3, 4, 5, 6
local PARKED, HALTED, NEED, FULL, RUN, CONDEMNED, LAPSED = 7, 8, 9, 10, 11, 12, 13

local me, sweep, durable = ARGV[2], tonumber(ARGV[7]), ARGV[8] == '1'
local max_count, max_bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local max_bucket_count, max_bucket_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local out, last, key, arg, args = {}, 0, 0, 9, #ARGV

-- Of the bucket at hand; the sums and the token are read and written once.
local ks, kf, km, kr, kq, kg, kh
local token, granted, count_of_all, bytes_of_all, parked_any, parked_before

local function answer(code)
  last = last + 1
  out[last] = code
end

local function is_live(session)
  local ends = call('ZSCORE', ks, session)
  return ends and tonumber(ends) > now
end

-- Let an aggregate not be forgotten that was idle so far.
local function keep(ka, ends)
  if ends and ends ~= '' then
    call('HSET', ka, 'z', '')
    call('PERSIST', ka)
  end
end

local function past(ka, x, sequence, digest, time)
  local state = call('HMGET', ka, 's', 'd', 'm')
  local skipped, done, newest = state[1], state[2], state[3]
  for first = 1, #(skipped or ''), 40 do
    if sequence >= sub(skipped, first, first + 19) and sequence <= sub(skipped, first + 20, first + 39) then
      return LATE
    end
  end
  if done and done ~= '' and done ~= digest and after(sequence) == x then
    return CONFLICT
  end
  return newest and time > newest and NEWER or DUPLICATE
end

-- Know from elsewhere what is next of an aggregate that waited to know it. What waits below is done; if it was
-- halted for that, it goes on. Returns why it is halted still, and how many were done.
local function settle(ka, kw, kp, next, halted)
  call('HSET', ka, 'x', next)
  if halted and call('EXISTS', kw) == 1 then
    local name = sub(ka, #kf + 2)
    call('HDEL', ka, 'h')
    call('ZREM', kh, name)
    call('ZADD', kr, now, name)
    halted = nil
  end
  local count, bytes = purge(kw, kp, next)
  if count > 0 then
    call('HINCRBY', ka, 'n', 0 - count)
    call('HINCRBY', ka, 'b', 0 - bytes)
    forget(km, count, bytes)
    if call('EXISTS', kw) == 0 then call('ZREM', kr, sub(ka, #kf + 2)) end
    if count_of_all then
      count_of_all, bytes_of_all = count_of_all - count, bytes_of_all - bytes
    end
  end
  return halted, count
end

local function grant(ka, x, sequence, k)
  if not token then token = tonumber(call('GET', kf) or 0) end
  token = math.max(token + 1, us)
  granted = true
  k = begin(bury(k))
  if x then
    call('HSET', ka, 'o', me, 'f', token, 'k', k)
  else
    call('HSET', ka, 'o', me, 'f', token, 'k', k, 'x', sequence)
  end
  return token, k
end

local function park(ka, kw, kp, x, next, owner, halted, sequence, digest, frame)
  local state = call('HMGET', ka, 'n', 'b', 'g', 't')
  local count, bytes, gap = tonumber(state[1] or 0), tonumber(state[2] or 0), state[3]
  local there = count > 0 and call('HGET', kp, sequence)
  if there then
    if sub(there, 1, 16) ~= digest then return CONFLICT end
    parked_before = true
    return halted and HALTED or PARKED
  end
  if frame == '' then return NEED end
  if not count_of_all then
    local sums = call('HMGET', km, 'c', 'b')
    count_of_all, bytes_of_all = tonumber(sums[1] or 0), tonumber(sums[2] or 0)
  end
  local length = #frame - 16
  if sequence ~= next and (count >= max_count or bytes + length > max_bytes
      or count_of_all >= max_bucket_count or bytes_of_all + length > max_bucket_bytes) then
    return FULL
  end
  count_of_all, bytes_of_all, parked_any = count_of_all + 1, bytes_of_all + length, true
  call('ZADD', kw, 0, sequence)
  call('HSET', kp, sequence, frame)
  local name = sub(ka, #kf + 2)
  local change = { 'n', count + 1, 'b', bytes + length }
  local function set(field, value)
    change[#change + 1] = field
    change[#change + 1] = value
  end
  if next then
    if not x then set('x', next) end
  else
    if not state[4] then set('t', now) end
  end
  local has_gap = gap and gap ~= ''
  if next == sequence then
    if has_gap then
      set('g', '')
      call('ZREM', kg, name)
    end
  elseif next and not has_gap and (count == 0 or call('HEXISTS', kp, next) == 0) then
    set('g', now)
    call('ZADD', kg, now, name)
  end
  if not halted then
    call('ZADD', kr, 'NX', now + sweep, name)
    if owner and sequence == next then call('ZADD', kq, 0, owner .. '|' .. name) end
  end
  call('HSET', ka, unpack(change))
  return halted and HALTED or PARKED
end

local function admit(ka, kw, kp, sequence, digest, time, first, frame)
  local state = call('HMGET', ka, 'x', 'o', 'f', 'k', 'h', 'c', 'z', 't', 'n')
  local ends = state[7]
  if ends and ends ~= '' and tonumber(ends) <= now then
    call('DEL', ka)
    state = {}
  end
  local x, owner, halted, waiting = state[1], state[2], state[5], tonumber(state[9] or 0)
  local kind = sub(first, 1, 1)
  local given = (kind == 'E' or kind == 'K') and sub(first, 2)
  if sequence == LAST or (kind == 'E' and sequence < given) then return answer(INVALID) end
  local next = x
  if not x then
    if kind == 'A' then return answer(UNKNOWN) end
    next = given or kind == 'S' and sequence
  end
  if next and sequence < next then return answer(past(ka, next, sequence, digest, time)) end
  if next and not x and state[8] then
    local done
    halted, done = settle(ka, kw, kp, next, halted)
    waiting = waiting - done
    x = next
  end
  if not owner or owner == '' or (owner ~= me and not is_live(owner)) then owner = nil end
  if sequence ~= next or halted or (owner and owner ~= me) then
    local answered = park(ka, kw, kp, x, next, owner, halted, sequence, digest, frame)
    if answered == PARKED or answered == HALTED then keep(ka, state[7]) end
    return answer(answered)
  end
  local f, k = state[3], state[4]
  if not owner then
    f, k = grant(ka, x, sequence, k)
    keep(ka, state[7])
  end
  answer(state[6] and CONDEMNED or RUN)
  answer(f)
  answer(deliveries(k))
  answer(waiting)
end

while arg <= args do
  local elements = tonumber(ARGV[arg])
  arg = arg + 1
  ks, kf, km, kr = KEYS[key + 1], KEYS[key + 2], KEYS[key + 3], KEYS[key + 4]
  kq, kg, kh = KEYS[key + 5], KEYS[key + 6], KEYS[key + 7]
  key = key + 7
  token, granted, count_of_all, parked_any, parked_before = nil, nil, nil, nil, nil
  local live = is_live(me)
  for _ = 1, elements do
    if live then
      admit(KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
        ARGV[arg], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4])
    else
      answer(LAPSED)
    end
    key, arg = key + 3, arg + 5
  end
  if granted then call('SET', kf, token) end
  if parked_any then
    call('HSET', km, 'c', count_of_all, 'b', bytes_of_all)
  elseif durable and parked_before then
    -- Who then waits for replicas waits for this connection's last write: there must be one behind the
    -- park that another connection wrote.
    call('HINCRBY', km, 'w', 1)
  end
end
return out
