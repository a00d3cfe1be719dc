import httpx

from agentcomm.protocols.onpath import OnPath
from agentcomm.protocols.tampering import read_rules
from agentcomm.protocols.taps import tampered_http

attacker = OnPath("a2a", read_rules(["duplicate:direction=request"], seed=0))
http = httpx.AsyncClient(transport=tampered_http(httpx, httpx.AsyncHTTPTransport(), attacker))
# ClientConfig(httpx_client=http); for MCP, httpx2 in place of httpx, or Client(tampered(transport, attacker))
