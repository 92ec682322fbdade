import socket

from services.local.ports import GRPC_OFFSET, HIGHEST, LOWEST, free_ports


def test_ports_and_their_twins_are_free_and_differ() -> None:
    ports = free_ports(40)
    all_of_them = ports + [port + GRPC_OFFSET for port in ports]
    assert len(set(all_of_them)) == 80
    assert all(LOWEST <= port < HIGHEST for port in ports)
    sockets = [socket.create_server(("127.0.0.1", port)) for port in all_of_them]
    for opened in sockets:
        opened.close()


def test_a_port_whose_twin_is_taken_is_not_given() -> None:
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port + GRPC_OFFSET)):
        assert port not in free_ports(200)
