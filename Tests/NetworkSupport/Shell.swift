import Foundation

/// A command that failed, with what it printed.
public struct ShellError: Error, CustomStringConvertible {
  public let command: String
  public let status: Int32
  public let output: String

  public var description: String { "`\(command)` ended with \(status): \(output)" }
}

public enum Shell {
  /// Runs a command with `bash -e`, in a network namespace if one is named. Returns what it printed, both streams.
  @discardableResult
  public static func run(_ command: String, inside namespace: String? = nil) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = (namespace.map { ["ip", "netns", "exec", $0] } ?? []) + ["bash", "-ec", command]
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else {
      throw ShellError(command: command, status: process.terminationStatus, output: output)
    }
    return output
  }
}
