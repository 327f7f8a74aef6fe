"""Attaches, applies, captures and reads counters over gRPC, as any user's program would: client.py SOCKET NAMESPACE."""
import subprocess
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from sluice.control.v1 import control_pb2 as pb
from sluice.control.v1 import control_pb2_grpc

SEND = """
import socket, struct
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("lan1", 0))
for number in range(300):
    udp = struct.pack("!HHHH", 5, 9 + number % 3, 18, 0) + bytes(10)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 38, 0, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    link.send(bytes.fromhex("020000000002020000000001") + bytes.fromhex("0800") + ip + udp)
"""


def refusal(call, request):
    try:
        call(request)
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError(f"not refused: {request}")


def main(path, namespace):
    channel = grpc.insecure_channel(f"unix:{path}")
    health = health_pb2_grpc.HealthStub(channel)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert health.Check(health_pb2.HealthCheckRequest()).status == serving
    assert health.Check(health_pb2.HealthCheckRequest(service="sluice.control.v1.Control")).status == serving
    assert "sluice.control.v1.Control" in ProtoReflectionDescriptorDatabase(channel).get_services()

    control = control_pb2_grpc.ControlStub(channel)
    names = [interface.name for interface in control.ListInterfaces(pb.ListInterfacesRequest()).interfaces]
    assert "lan0" in names, names
    events = control.StreamEvents(pb.StreamEventsRequest(kinds=["attached", "applied"]))
    # The stream is open once the daemon has answered another call made after it.
    control.GetStatus(pb.GetStatusRequest())

    attachment = control.Attach(pb.AttachRequest(interface="lan0")).attachment
    assert attachment.mode == pb.ATTACH_MODE_NATIVE, attachment
    rules = pb.RuleSet(name="python", revision=3, rules=[
        pb.Rule(name="nine", match=pb.Match(protocols=["udp"], destination_ports=["9"]), action=pb.ACTION_DROP),
        pb.Rule(name="ten", match=pb.Match(destinations=["10.0.0.2"]), action=pb.ACTION_COUNT)])
    dry = control.Apply(pb.ApplyRequest(interfaces=["lan0"], rule_set=rules, dry_run=True))
    assert dry.results[0].self_test_packets > 0
    result = control.Apply(pb.ApplyRequest(interfaces=["lan0"], rule_set=rules)).results[0]
    assert result.generation == 2 and result.entries == 2, result

    subprocess.run(["ip", "netns", "exec", namespace, sys.executable, "-c", SEND], check=True)
    counters = control.GetCounters(pb.GetCountersRequest(interfaces=["lan0"])).interfaces[0]
    assert {c.rule: c.counter.packets for c in counters.rules} == {"nine": 100, "ten": 200, "default": 200}, counters
    assert counters.actions["drop"].packets == 100 and counters.actions["pass"].packets == 200, counters
    assert counters.revision == 3

    assert next(events).kind == "attached"
    applied = next(events)
    assert applied.kind == "applied" and applied.fields["generation"] == "2", applied
    events.cancel()

    code, text = refusal(control.Attach, pb.AttachRequest(interface="nope"))
    assert code == grpc.StatusCode.NOT_FOUND and "lan0" in text, text
    bad = pb.RuleSet(name="bad", rules=[pb.Rule(name="x", match=pb.Match(sources=["10.0.0.1/8"]), action=pb.ACTION_DROP)])
    code, text = refusal(control.Apply, pb.ApplyRequest(interfaces=["lan0"], rule_set=bad))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "10.0.0.0/8" in text, text
    live = control.GetRuleSet(pb.GetRuleSetRequest(interface="lan0"))
    assert live.generation == 2 and live.rule_set.name == "python"
    control.Detach(pb.DetachRequest(interface="lan0"))
    print("python client: ok")


main(*sys.argv[1:])
