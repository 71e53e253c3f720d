-- Open a scope: compare the policies or write them down, and take note of a loss.
--
-- ARGV: time, what is known of the past, then name and value of each policy. KEYS: the scope's meta.
-- Returns EMPTY and nothing is written; or MISMATCH, the policy's name and what is there; or THERE, when state
-- was lost last or '', 1 if that was noticed now, and the time.
local EMPTY, MISMATCH, THERE = 1, 2, 3

local meta, past = KEYS[1], ARGV[2]
local info = call('INFO', 'server') .. call('INFO', 'replication')
-- Another process is another life of the data, and so is another history.
local life = string.match(info, 'run_id:(%w+)') .. ':' .. (string.match(info, 'master_replid:(%w+)') or '')

local there = call('EXISTS', meta) == 1
if not there and past == 'unasked' then return { EMPTY } end
for arg = 3, #ARGV, 2 do
  local policy, ours = ARGV[arg], ARGV[arg + 1]
  if call('HSETNX', meta, policy, ours) == 0 then
    local theirs = call('HGET', meta, policy)
    if theirs ~= ours then return { MISMATCH, policy, theirs } end
  end
end
local noticed
if there then
  local before = call('HGET', meta, 'life')
  noticed = past == 'lost' or (before and before ~= life)
else
  noticed = past ~= 'none'
end
call('HSET', meta, 'life', life)
if noticed then call('HSET', meta, 'lost', now) end
return { THERE, call('HGET', meta, 'lost') or '', noticed and 1 or 0, now }
