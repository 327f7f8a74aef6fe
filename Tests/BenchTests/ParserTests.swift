import Foundation
import Testing

@testable import Bench

@Suite("What is read from files and programs")
struct ParserTests {
  private static let pcap: [UInt8] =
    [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0] + Array(repeating: 0, count: 12) + [1, 0, 0, 0]
  private static func record(_ byteCount: Int) -> [UInt8] {
    [1, 0, 0, 0, 2, 0, 0, 0, UInt8(byteCount), 0, 0, 0, 200, 0, 0, 0] + Array(repeating: 0xaa, count: byteCount)
  }
  private static func block(_ type: UInt8, body: Int) -> [UInt8] {
    let length = UInt8(12 + body)
    return [type, 0, 0, 0, length, 0, 0, 0] + Array(repeating: 0, count: body) + [length, 0, 0, 0]
  }
  private static let section: [UInt8] =
    [0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a] + Array(repeating: 0xff, count: 12) + [28, 0, 0, 0]

  private func count(_ bytes: [UInt8], chunk: Int) -> UInt64? {
    var count = CaptureFileCount()
    for start in stride(from: 0, to: bytes.count, by: chunk) {
      guard count.walk(Array(bytes[start..<min(start + chunk, bytes.count)])) else { return nil }
    }
    return count.isWhole ? count.packets : nil
  }

  @Test("Packets of a pcap are counted, wherever it is cut into chunks", arguments: [1, 3, 7, 16, 1000])
  func countsPcap(chunk: Int) {
    #expect(count(Self.pcap, chunk: chunk) == 0)
    #expect(count(Self.pcap + Self.record(60) + Self.record(0) + Self.record(64), chunk: chunk) == 3)
  }

  @Test("Packets of a pcapng are counted, other blocks are not", arguments: [1, 3, 7, 12, 1000])
  func countsPcapng(chunk: Int) {
    let bytes = Self.section + Self.block(1, body: 8) + Self.block(6, body: 84) + Self.block(5, body: 12)
      + Self.block(3, body: 20) + Self.block(6, body: 20)
    #expect(count(bytes, chunk: chunk) == 3)
  }

  @Test("A file that is none, or ends within a record, has no count")
  func refusesOthers() {
    #expect(count([], chunk: 8) == nil)
    #expect(count(Array("not a capture file".utf8), chunk: 8) == nil)
    #expect(count(Self.pcap + Self.record(60).dropLast(), chunk: 8) == nil)
    #expect(count(Self.pcap + [1, 0, 0], chunk: 8) == nil)
    #expect(count(Self.section + [6, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], chunk: 8) == nil)
  }

  @Test("A subject's account is its last line")
  func account() {
    let account = Subject.Account(packets: 7, dropped: 2, nanoseconds: 9)
    #expect(Subject.Account(output: "\(Subject.readyText)\n\(account.line)\n") == account)
    #expect(Subject.Account(output: "\(Subject.readyText)\n") == nil)
    #expect(Subject.Account(output: "") == nil)
  }

  @Test("Fields of /proc/cpuinfo and /etc/os-release")
  func fields() {
    #expect(Machine.field("model name", in: "a : b\nmodel name\t: EPYC 9\nmodel name\t: X", separator: ":") == "EPYC 9")
    #expect(Machine.field("PRETTY_NAME", in: "ID=x\nPRETTY_NAME=\"Debian 12\"", separator: "=") == "Debian 12")
    #expect(Machine.field("PRETTY_NAME", in: "", separator: "=") == nil)
  }

  @Test("Every packet of an account is somewhere, or unexplained")
  func packetAccount() {
    let account = PacketAccount(
      attempted: 100, refused: 5, notTaken: 4, droppedInside: 3, refusedBehind: 2, delivered: 85)
    #expect(account.lost == 15)
    #expect(account.unexplained == 1)
  }

  @Test("Peers are looked for in the folder first, then in PATH; the preload only there")
  func peers() throws {
    let folder = NSTemporaryDirectory() + "bench-peers-\(getpid())"
    let path = NSTemporaryDirectory() + "bench-path-\(getpid())"
    let files = FileManager.default
    defer { for name in [folder, path] { try? files.removeItem(atPath: name) } }
    for name in [folder, path] { try files.createDirectory(atPath: name, withIntermediateDirectories: true) }
    for file in ["\(folder)/xdpsock", "\(path)/xdpsock", "\(path)/xsk_fwd"] {
      #expect(files.createFile(atPath: file, contents: nil, attributes: [.posixPermissions: 0o755]))
    }
    #expect(files.createFile(atPath: "\(path)/tcpdump", contents: nil, attributes: [.posixPermissions: 0o644]))
    let peers = Peers(folder: folder, searchPath: path)
    #expect(peers.paths == [.xdpsock: "\(folder)/xdpsock", .xskForward: "\(path)/xsk_fwd"])
    #expect(peers.preload == nil)
    #expect(files.createFile(atPath: "\(folder)/preload.so", contents: nil))
    #expect(Peers(folder: folder, searchPath: path).preload == "\(folder)/preload.so")
  }
}
