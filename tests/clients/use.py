"""Uses the generated client against the node at NODE, with the token in TOKEN."""

import os

from client import AuthenticatedClient, Client
from client.api.accounts import get_accounts_address
from client.api.blocks import get_blocks, get_blocks_id
from client.api.chain import get_chain, get_chain_params
from client.api.dev import post_dev_faucet, post_dev_generate
from client.api.mining import get_mining, get_mining_jobs_id, get_mining_template, post_mining_jobs
from client.api.node import post
from client.api.transactions import get_transactions_id
from client.models.access import Access
from client.models.block import Block
from client.models.chain import Chain
from client.models.faucet_request import FaucetRequest
from client.models.generate_request import GenerateRequest
from client.models.job import Job
from client.models.job_request import JobRequest
from client.models.problem import Problem
from client.models.template import Template
from client.models.transaction import Transaction
from client.models.transaction_status import TransactionStatus
from client.models.transaction_type import TransactionType

ADDRESS = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa"  # account 1 of `dev`

public = Client(base_url=os.environ["NODE"])
operator = AuthenticatedClient(base_url=os.environ["NODE"], token=os.environ["TOKEN"])

chain = get_chain.sync(client=public)
assert isinstance(chain, Chain) and chain.height == 0, chain
assert Access.PROTECTED in chain.apis.additional_properties.values(), chain.apis
assert get_chain_params.sync(client=public).name == "dev"

order = GenerateRequest(blocks=3, miner=ADDRESS)
refused = post_dev_generate.sync(client=public, body=order)
assert isinstance(refused, Problem) and refused.code == "unauthorized", refused
assert len(post_dev_generate.sync(client=operator, body=order).blocks) == 3
tip = get_blocks_id.sync("tip", client=public)
assert isinstance(tip, Block) and (tip.height, tip.miner) == (3, ADDRESS), tip
assert [block.height for block in get_blocks.sync(client=public, limit=2).items] == [3, 2]
missing = get_blocks_id.sync("99", client=public)
assert isinstance(missing, Problem) and missing.code == "not-found", missing

paid = post_dev_faucet.sync(client=operator, body=FaucetRequest(address=ADDRESS, amount=5))
pending = get_transactions_id.sync(paid.id, client=public)
assert isinstance(pending, Transaction) and pending.status == TransactionStatus.PENDING, pending
assert (pending.type_, pending.amount, pending.recipient) == (TransactionType.TRANSFER, 5, ADDRESS)
assert get_accounts_address.sync(ADDRESS, client=public).immature > 0

template = get_mining_template.sync(client=public, miner=ADDRESS)
assert isinstance(template, Template) and template.height == 4, template
assert get_mining.sync(client=public).running is False
job = post_mining_jobs.sync(client=operator, body=JobRequest(miner=ADDRESS, blocks=1))
assert isinstance(job, Job), job
assert get_mining_jobs_id.sync(job.id, client=public, wait=5).id == job.id

print("the client in Python works")
