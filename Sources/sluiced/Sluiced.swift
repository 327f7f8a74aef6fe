import ArgumentParser
import ControlProtocol
import FoundationEssentials
import Settings

/// The data-plane daemon: wiring only.
@main
struct Sluiced: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sluiced",
    abstract: "Filters, forwards, counts and captures packets by XDP and AF_XDP.",
    discussion: """
      Runs in the foreground, in the network namespace it is started in, and is controlled through its unix socket: by
      sluice-api, by the sluice command, or by any gRPC client (sluice.control.v1.Control, with reflection). What was
      applied is kept in the state directory and restored at start.

      Needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW and CAP_IPC_LOCK (or root), and CAP_SYS_ADMIN only to mount
      the BPF file system where nobody has, and for libxdp's dispatcher. CAP_PERFMON: without it the kernel's verifier
      grants no program an access to a packet at a computed offset, which every parser makes.

      SIGTERM and SIGINT end captures, write them out, and take the programs off, except from interfaces attached with
      keep_on_exit. A killed daemon leaves the programs deciding by the last rules; the next one takes them over.

      EXAMPLES
        sluiced -v
        sluiced --config /etc/sluice/sluice.yaml --set metrics.port=9412
        sluiced --check

      SETTINGS: key in the file, environment variable, meaning [default]. --set beats the environment, which beats the file.
      \(Setting.describe(.daemon))

      EXIT CODES: 0 stopped as asked; 1 could not start or run; 64 wrong usage or settings.
      """,
    version: SluiceVersion.current)

  @Option(help: "Settings file. Without it: $SLUICE_CONFIG, else \(Setting.standardFile) if it is there.")
  var config: String?

  @Option(name: .customLong("set"), help: ArgumentHelp("One setting, by its key; may be repeated.", valueName: "key=value"))
  var overrides: [String] = []

  @Flag(name: .shortAndLong, help: "Log more: -v info, -vv debug, -vvv trace.")
  var verbose: Int

  @Flag(help: "Check the settings and end.")
  var check = false

  func run() async throws {
    let settings: DaemonSettings
    do {
      settings = try DaemonSettings.load(
        flags: SettingFlags.parse(overrides), environment: ProcessInfo.processInfo.environment, file: config)
    } catch {
      throw ValidationError("\(error)")
    }
    if check {
      print("settings are valid")
      return
    }
    try await Daemon(settings: settings, verbosity: verbose).run()
  }
}
